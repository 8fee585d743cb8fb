"""What the owner of the account answers, by profile type and occasion; {first} is how the author is addressed."""

from __future__ import annotations

import itertools

from services.demo.dataset.banks import lines


def _combine(opening: str, body: str, ending: str) -> tuple[str, ...]:
    parts = (lines(opening), lines(body), ("", *lines(ending)))
    return tuple(" ".join(filter(None, combination)) for combination in itertools.product(*parts))


REPLIES: dict[tuple[str, str], tuple[str, ...]] = {
    ("creator", "positive"): _combine(
        """
        Thank you, {first}!
        Aw, {first} ❤️
        Ha, thanks {first}!
        This made me smile, {first}.
        {first}, you're the best.
        """,
        """
        Comments like this keep me going.
        So happy it helped.
        You have no idea how much I needed to read that today.
        That is exactly what I hoped for.
        I grinned the whole time making it, glad it shows.
        Couldn't ask for a nicer audience.
        More on this soon.
        Took me ages to make, so this means a lot.
        Glad you enjoyed it.
        """,
        """
        See you in the next one!
        🙌
        Let me know what you'd like to see next.
        """,
    ),
    ("creator", "question"): _combine(
        """
        Hey {first}!
        Good point, {first}.
        Thanks for being here, {first}.
        Hi {first}!
        """,
        """
        I'll cover that in the next one.
        It's all in the description, have a look.
        I've put the details in the pinned comment.
        Adding it to my list.
        Short answer: it depends, long answer coming soon.
        A few people asked, so I'll answer it properly this week.
        """,
        """
        Hope that helps!
        😄
        Tell me how it goes.
        """,
    ),
    ("creator", "negative"): _combine(
        """
        Fair feedback, {first}.
        Thanks for being honest, {first}.
        Sorry to hear that, {first}.
        I hear you, {first}.
        """,
        """
        I'll do better in the next one.
        You're right, I should have mentioned that.
        I'll check it and pin a correction if needed.
        Send me the details and I'll take a look.
        It's noted for the follow-up.
        """,
        """
        Appreciate you saying it.
        No hard feelings!
        """,
    ),
    ("brand", "positive"): _combine(
        """
        Thank you, {first}!
        Hi {first}, you just made our day.
        Hi {first}, thank you so much.
        That's lovely to read, {first}.
        """,
        """
        We've shared this with the whole team.
        The person who designed it is grinning right now.
        Made our Monday meeting a lot nicer.
        That's exactly what we hoped to hear.
        Thanks for taking the time to write.
        We're so glad it works for you.
        Feedback like this is why we do it.
        Happy to have you with us.
        It means a lot to a small team.
        """,
        """
        Enjoy it!
        See you soon.
        ❤️
        """,
    ),
    ("brand", "question"): _combine(
        """
        Hi {first}!
        Hello {first}, thanks for asking.
        Thanks for your message, {first}.
        Hey {first}!
        """,
        """
        You'll find all the details on our product page.
        We've sent you a direct message with the details.
        We're working on it and will post an update here.
        Our team has put this in the FAQ, and we're happy to help in the chat too.
        We've passed this on to the product team.
        """,
        """
        Let us know if you need anything else.
        Have a good day!
        """,
    ),
    ("brand", "negative"): _combine(
        """
        Hi {first}, we're sorry about this.
        Hi {first}, thank you for telling us.
        {first}, this is not the experience we want for you.
        Sorry to read this, {first}.
        """,
        """
        Please send us your order number and we'll put it right.
        We've written to you to arrange a replacement.
        Our support team will contact you today.
        We'd like to refund or replace it, whichever you prefer.
        We've forwarded it to our quality team.
        """,
        """
        Thank you for your patience.
        We'll make sure you get an answer.
        Best, your support team
        """,
    ),
    ("local_business", "positive"): _combine(
        """
        Thank you, {first}!
        Dear {first}, thank you for your kind words.
        {first}, it was a pleasure.
        What a nice message, {first}!
        """,
        """
        We've read it out to the whole team.
        Thanks for taking the time to write.
        That's exactly how we want it to be.
        You were a delight to look after.
        It's regulars and newcomers like you that we do this for.
        It was lovely to have you here.
        We're happy you feel at home with us.
        We'll pass it on to everybody who was on shift.
        Messages like this make our week.
        """,
        """
        See you soon!
        Until next time.
        ❤️
        """,
    ),
    ("local_business", "question"): _combine(
        """
        Hi {first}!
        Hello {first}, thanks for your message.
        Thank you, {first}.
        """,
        """
        Just give us a call and we'll check for you.
        You can see all times and prices on our page.
        We've sent you a message with the details.
        We'll gladly show you next time you're here.
        Drop in any time, the kettle is always on.
        """,
        """
        Have a lovely day!
        Hope to see you soon.
        """,
    ),
    ("local_business", "negative"): _combine(
        """
        Dear {first}, we're sorry to read this.
        Hi {first}, thank you for letting us know.
        {first}, this isn't how we want you to feel here.
        Sorry, {first}, that should not have happened.
        """,
        """
        Please call us so that we can make it right.
        We've talked it through with the team.
        We'd like to invite you back and do better.
        Could you send us the date of your visit?
        We're looking into what went wrong.
        """,
        """
        Thank you for giving us the chance.
        Kind regards from the team
        """,
    ),
    ("creator", "remark"): _combine(
        """
        Ha, {first}!
        Hey {first}!
        {first} 😂
        Thanks for stopping by, {first}.
        """,
        """
        Fair enough.
        I feel seen.
        Keep me posted.
        You're not alone with that.
        Good to have you here.
        """,
        "",
    ),
    ("brand", "remark"): _combine(
        """
        Hi {first}!
        Hey {first}!
        Thanks for being here, {first}.
        """,
        """
        We like the sound of that.
        No rush, we're here when you need us.
        Keep us posted!
        You're in good company.
        Let us know how you get on.
        """,
        """
        😊
        """,
    ),
    ("local_business", "remark"): _combine(
        """
        Hi {first}!
        Hello {first}!
        Thanks for dropping a line, {first}.
        """,
        """
        The door is open, any time.
        We'd love to see you.
        No rush at all.
        Say hello when you're around.
        We'll keep a seat free.
        """,
        """
        😊
        """,
    ),
    ("creator", "mixed"): _combine(
        """
        Thanks for the honest words, {first}.
        Appreciate it, {first}.
        """,
        """
        I'm working on the weak spots.
        I read every review and this one helps.
        Tell me what you'd like to see more of.
        """,
        "",
    ),
    ("brand", "mixed"): _combine(
        """
        Hi {first}, thank you for the honest review.
        Thanks for the balanced feedback, {first}.
        Hello {first}, we appreciate this.
        """,
        """
        We've passed it on to the product team.
        We'd love to know what would have made it five stars.
        We're working on exactly that point.
        If we can do anything to improve it, please write to us.
        """,
        """
        Have a good day!
        """,
    ),
    ("local_business", "mixed"): _combine(
        """
        Hi {first}, thank you for the honest review.
        Thanks for the balanced feedback, {first}.
        Dear {first}, we appreciate this.
        """,
        """
        We hope to win the missing stars next time.
        We've talked about it in our team meeting.
        Tell us next time and we'll sort it out on the spot.
        We'd love to know what would have made it five stars.
        """,
        """
        See you again, we hope.
        """,
    ),
}
