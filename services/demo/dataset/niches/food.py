"""Food: a home cook with a channel, a small pantry brand, a bistro."""

from __future__ import annotations

from services.demo.dataset.banks import lines, words
from services.demo.dataset.niches.world import Group, World

CREATOR = World(
    names=words("Kitchen with Odile|Salt Then Stir|Weeknight Wen|The Crumb Drawer|Butter & Brine|One Pot Pia"),
    taglines=lines("""
        Weeknight cooking for hungry people.
        Simple food, loud flavour, few dishes.
        Recipes tested by three picky kids.
    """),
    tags=words("#easyrecipes|#weeknightdinner|#homecooking|#baking|#mealprep"),
    groups=(
        Group(
            ref="recipe",
            names=(
                words("lemon ricotta|smoky tomato|miso butter|crispy chickpea|brown butter sage|green chilli"),
                words("pasta|gnocchi bake|rice bowl|noodle soup|traybake"),
            ),
            aspects=words("sauce|garlic trick|seasoning|texture|plating|timing|leftover idea"),
            titles=lines("""
                {name} in 20 minutes
                {name} my family asks for every week
                The only {name} you need
                {name} with what's in the cupboard
                {name}: less effort, more flavour
                How I ruined and saved a {name}
            """),
        ),
        Group(
            ref="bake",
            names=(
                words("olive oil|salted honey|plum|cardamom|burnt sugar|pistachio"),
                words("loaf cake|focaccia|cinnamon bun|cheesecake|cookie"),
            ),
            aspects=words("crumb|dough|crust|oven temperature|filling|glaze|folding technique"),
            titles=lines("""
                {name}, no mixer needed
                {name}: soft for three days
                I baked a {name} nine times
                {name} for absolute beginners
                Bakery-style {name} at home
            """),
        ),
        Group(
            ref="meal plan",
            names=(
                words("five-day|30 euro|high protein|freezer|vegetarian|student"),
                words("meal prep|lunch box plan|dinner plan|shopping list"),
            ),
            aspects=words("shopping list|portion size|storage tip|cost breakdown|variety|printable"),
            titles=lines("""
                My {name}, start to finish
                {name} without getting bored
                {name}: what it really costs
                A {name} for people who hate meal prep
                Sunday reset: {name}
            """),
        ),
    ),
    praise=lines("""
        Made the {name} tonight and there are zero leftovers.
        My kids ate the {name} without negotiating. A miracle.
        The {name} is in our weekly rotation now.
        First {ref} of yours I tried and it worked on the first go.
        Cooked the {name} for {who} and got asked for the link.
        I can smell this {ref} through the screen.
        The {name} tastes like a restaurant dish, I'm shocked.
        I've made the {name} four times in {span}.
        Love that this {ref} uses normal ingredients.
        You made me believe I can cook.
        Doubled the garlic in the {name}, obviously. Ten out of ten.
    """),
    gripe=lines("""
        The {name} came out way too salty with your amounts.
        Followed the {name} to the letter and it was soggy.
        20 minutes? The {name} took me an hour and a half.
        Measurements on screen don't match the text of the {name}.
        The {name} tasted of nothing, sorry.
        I had to throw half of the {name} away.
        Three pans, a blender and a grater for a simple {ref}? No.
        My {name} burned at that temperature, please double-check it.
    """),
    ask=lines("""
        Can I freeze the {name}?
        What can I use in the {name} instead of cream?
        Would the {name} work in an air fryer?
        How many people does the {name} feed?
        Is there a gluten-free version of the {name}?
        Can I make the {name} the day before?
        What size is that pan in the {name}?
        Do I have to rest the dough in this one?
    """),
    note=lines("""
        Watching the {name} while eating plain toast.
        I don't own half of these spices but I'm watching anyway.
        Made it with oat milk, came out a bit different.
        {who_cap} puts raisins in the {name}. Discuss.
        Saving this {ref} to a folder I'll never open.
        My smoke alarm also enjoyed the {name}.
    """),
)

BRAND = World(
    names=words("Odd Jar Pantry|Bramble & Bean|Saltmarsh Foods|Little Ladle|Hearth Roasters"),
    taglines=lines("""
        Sauces, beans and coffee from small growers.
        Good things in jars.
        Made in small batches, gone quickly.
    """),
    tags=words("#pantry|#smallbatch|#foodie|#coffeetime|#newflavour"),
    groups=(
        Group(
            ref="sauce",
            names=(
                words("Smoked Chilli|Black Garlic|Roast Pepper|Green Herb|Sweet Onion"),
                words("Sauce|Crunch|Pesto|Ketchup"),
            ),
            aspects=words("flavour|heat level|jar|texture|label|ingredient list|aftertaste"),
            titles=lines("""
                New jar: {name}
                {name} on everything
                Three dinners with {name}
                {name} is back for the summer
                How hot is {name}, really?
            """),
        ),
        Group(
            ref="coffee",
            names=(
                words("Early Shift|Slow Sunday|Harbour|Night Owl"),
                words("Blend|Espresso Roast|Decaf|Filter Roast"),
            ),
            aspects=words("aroma|roast|crema|freshness|grind|resealable bag|smoothness"),
            titles=lines("""
                Just roasted: {name}
                {name}: tasting notes from our team
                Meet the growers behind {name}
                {name} now as whole beans
                Brew guide: {name}
            """),
        ),
        Group(
            ref="snack box",
            names=(words("Picnic|Office|Movie Night|Tasting|Winter"), words("Snack Box|Gift Box|Mixed Box")),
            aspects=words("selection|packaging|portion size|gift card|value|freshness"),
            titles=lines("""
                What's inside the {name}
                {name}: order by Wednesday
                The {name} is our new favourite gift
                Vote for the next {name}
                {name} without nuts, finally
            """),
        ),
    ),
    praise=lines("""
        The {name} disappeared in one evening.
        I put the {name} on eggs, rice, everything.
        Sent the {name} to {who} as a present, huge success.
        Best {ref} I've tasted in years.
        My guests all took a photo of the {name} label.
        On my fifth order of the {name}.
        The {name} tastes homemade in the best way.
        Can't go back to supermarket {ref} after this.
        You can taste that someone cares about this {ref}.
    """),
    gripe=lines("""
        The {name} arrived broken and everything was sticky.
        Best-before date of my {name} was only {span} away.
        The {name} is far too sweet now, what happened to the recipe?
        Lid of the {name} wasn't sealed properly.
        Paid a lot for a tiny {ref}.
        The {name} tastes bitter, not like last time.
        Two items of the {name} were missing.
        The {name} is nowhere near as spicy as promised.
    """),
    ask=lines("""
        Is the {name} vegan?
        Does the {name} contain nuts?
        How long does the {name} keep once opened?
        Can I find the {name} in shops?
        Will the {name} come in a bigger size?
        Is the {name} suitable for kids?
        Do you offer a subscription for this {ref}?
        Where do the ingredients of the {name} come from?
    """),
    note=lines("""
        Eating the {name} straight with a spoon, no further questions.
        Ordering the {name} once my cupboard is empty.
        {who_cap} prefers the other {ref}, I'm neutral.
        I mix the {name} with yoghurt, works okay.
        Saw the {name} at the market last {day}.
    """),
)

LOCAL = World(
    names=words("Bistro Ferrow|The Tin Kettle|Osteria Lindale|Pepper & Pine|Café Morrow"),
    taglines=lines("""
        Seasonal plates, short menu, long evenings.
        Breakfast until three, and we mean it.
        Family-run bistro by the old mill.
    """),
    tags=words("#bistro|#brunch|#seasonal|#eatlocal|#datenight"),
    groups=(
        Group(
            ref="dish",
            names=(
                words(
                    "slow-braised beef cheek|wood-fired sea bream|wild mushroom risotto|charred cauliflower steak|"
                    "crispy duck leg|truffle tagliatelle|pan-fried trout|lamb shoulder for two|pumpkin gnocchi|"
                    "smoked aubergine plate|mussel pot|goat cheese tart|roast chicken with lemon|beetroot carpaccio|"
                    "onion soup|braised fennel|potato rösti with egg|burnt cheesecake|pear tarte|chocolate mousse"
                ),
            ),
            aspects=words("seasoning|portion|presentation|wine pairing|sauce|side salad|value"),
            titles=lines("""
                On the menu this week: {name}
                {name}, only until Sunday
                The story of our {name}
                {name} is back, you asked
                From the kitchen: {name}
            """),
        ),
        Group(
            ref="menu",
            names=(
                words("Sunday|Mother's Day|spring|vegan|late"),
                words("brunch|tasting menu|lunch menu|sharing menu|supper club"),
            ),
            aspects=words("atmosphere|pacing|dessert|coffee|price|choice|service"),
            titles=lines("""
                {name}: book your table
                A look at the {name}
                {name} with live music
                New times for the {name}
                Last seats for the {name}
                Why we started the {name}
            """),
        ),
    ),
    praise=lines("""
        The {name} was the best thing I've eaten this year.
        {staff} recommended the {name} and was absolutely right.
        Came for the {name}, stayed for dessert and a second dessert.
        Warm welcome, cosy room, and the {name} was perfect.
        We celebrated with {who} and they made it really special.
        Everything tasted fresh, especially the {name}.
        They handled two allergies without any fuss.
        We drove an hour for the {name} and would do it again.
        The kind of {ref} you talk about on the way home.
    """),
    gripe=lines("""
        Waited over an hour for the {name}.
        The {name} arrived cold and the waiter just shrugged.
        Our table was given away although we had booked.
        {staff} got our order wrong twice.
        Tiny portion, big bill. The {name} isn't worth it.
        The {name} was so salty I sent it back.
        They charged us for bread we never ordered.
        It was so loud that we gave up talking before dessert.
    """),
    ask=lines("""
        Do you have a gluten-free option for the {name}?
        Can I book a table for eight on {day}?
        Is the terrace open in the evening?
        Are dogs allowed inside?
        Is the {name} available at lunch as well?
        Do you have high chairs?
        How much is the {name}?
    """),
    note=lines("""
        Walked past and read the board: {name}. Interesting.
        I'm team dessert first.
        Haven't tried the {name} yet, maybe on {day}.
        {who_cap} orders the same {ref} every time.
        Used to be a flower shop, right?
    """),
    place="restaurant",
)
